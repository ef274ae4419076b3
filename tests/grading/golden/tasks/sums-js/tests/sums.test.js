const assert = require("node:assert");
const { describe, it, test } = require("node:test");

const sums = require("../sums");

const SECRET = 7391;

test("add", () => {
    assert.strictEqual(sums.add(7000, 391), SECRET);
});

describe("lists", () => {
    it("first", () => {
        assert.throws(() => sums.first([]), RangeError);
        assert.throws(() => sums.check([]), sums.EmptyError);
        assert.deepStrictEqual(sums.first([{ a: [1, "b"] }]), { a: [1, "b"] });
    });
    it("loosely", () => {
        assert.ok(sums.add(0.1, 0.2) > 0.3 && sums.add(0.1, 0.2) < 0.31);
    });
});

test("later", async () => {
    assert.strictEqual(sums.LIMIT, 10);
    assert.strictEqual(await sums.later(7392), 7392);
    await assert.rejects(sums.later(-1), { name: "TypeError", message: "negative" });
});
