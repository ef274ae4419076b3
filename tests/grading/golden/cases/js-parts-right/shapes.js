exports.Vector = class Vector {
    constructor(x, y) {
        Object.assign(this, { x, y });
    }
    *[Symbol.iterator]() {
        yield this.x;
        yield this.y;
    }
    valueOf() {
        return Math.hypot(this.x, this.y);
    }
};
