const assert = require("node:assert");
const { test } = require("node:test");

const sums = require("../sums");

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test("subtests", async (t) => {
    await t.test("one", () => assert.strictEqual(sums.add(1, 2), 3));
    await t.test("two", async (inner) => {
        await inner.test("three", (deep, done) => done(sums.add(1, 3) === 4 ? null : new Error("wrong")));
    });
});

test("hooks", (t) => {
    t.after(() => assert.strictEqual(sums.add(2, 2), 4));
});

test("timer", async () => {
    setTimeout(() => assert.strictEqual(sums.add(2, 3), 5), 5);
    await pause(50);
});

test("not awaited", () => {
    sums.later(6).then((found) => assert.strictEqual(found, 6));
});

test("stopped clock", (t) => {
    t.mock.timers.enable({ apis: ["Date", "setImmediate"] });
    assert.strictEqual(sums.add(40, 2), 42);
});
