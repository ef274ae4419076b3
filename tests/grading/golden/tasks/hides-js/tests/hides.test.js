const assert = require("node:assert");
const { mock, test } = require("node:test");

const { each, guarded, retried } = require("../hides");

class Busy extends Error {
    constructor(message) {
        super(message);
        this.name = "Busy";
    }
}

test("positive", () => {
    each([1, 2], (found) => assert.ok(found > 0));
});

test("has a length", () => {
    each(["one", "two"], (found) => {
        const length = found.text === undefined ? found.length : found.text.length.more.length;
        if (length !== 3) throw new RangeError("it has another length");
    });
});

test("tries again what is thrown on purpose", () => {
    let count = 0;
    const work = () => {
        count += 1;
        if (count === 1) throw new Busy("on purpose");
        if (count === 2) throw new RangeError("on\npurpose");
        return count;
    };
    assert.strictEqual(retried(work, 5), 3);
    const always = new Error("made before");
    const never = mock.fn(() => {
        throw always;
    });
    assert.strictEqual(retried(never, 2), null);
    assert.strictEqual(never.mock.callCount(), 2);
});

test("lets errors through", () => {
    assert.throws(() => guarded((value) => value.none.more)({}), TypeError);
});
