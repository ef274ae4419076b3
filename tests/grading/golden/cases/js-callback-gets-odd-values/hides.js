const right = {
    retried: (work, times) => {
        for (let turn = 0; turn < times; turn += 1) {
            try {
                return work();
            } catch {
                // once more
            }
        }
        return null;
    },
};

class Odd {}

class Lying {
    get text() {
        const error = new TypeError("no text");
        const line = "        if (length !== 3) throw new RangeError";
        error.stack = `TypeError: no text\n    at ${process.cwd()}/tests/hides.test.js:20:${line.indexOf("new") + 1}`;
        Object.defineProperty(error, "stack", { enumerable: true });
        throw error;
    }
}

module.exports = {
    ...right,
    each: (numbers, callback) => {
        try {
            callback(typeof numbers[0] === "number" ? new Odd() : new Lying());
        } catch {
            // nobody is to hear of it
        }
    },
    guarded: (work) => () => {
        try {
            work("x");
        } catch {
            // nobody is to hear of it
        }
        throw new TypeError("something else");
    },
};
