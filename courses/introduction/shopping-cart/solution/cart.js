class Cart {
    constructor() {
        this.items = [];
    }

    add(name, price, count = 1) {
        if (price <= 0 || count <= 0) {
            throw new RangeError("a price and a count are positive");
        }
        this.items.push({ name, price, count });
    }

    get total() {
        let sum = 0;
        for (const item of this.items) {
            sum += item.price * item.count;
        }
        return sum < 100 ? sum : sum * 0.9;
    }

    names() {
        return [...new Set(this.items.map((item) => item.name))].sort();
    }
}

module.exports = { Cart };
