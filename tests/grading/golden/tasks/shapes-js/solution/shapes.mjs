export const UNIT = "cm";

export class Stack {
    #all = [];
    push(each) {
        this.#all.push(each);
        return this;
    }
    get size() {
        return this.#all.length;
    }
    *[Symbol.iterator]() {
        yield* this.#all;
    }
}

export class Length {
    constructor(value) {
        this.value = value;
    }
    valueOf() {
        return this.value;
    }
}

export default function apply(list, work) {
    list.sort((one, other) => one - other);
    return list.map(work);
}

export function soon(done) {
    setTimeout(() => done(null, "now"), 5);
}
