const assert = require("node:assert");
const { test } = require("node:test");

const { Vector } = require("../shapes");

test("parts", () => {
    const [x, y] = new Vector(3, 4);
    assert.ok(2.9 < x && x < 3.1);
    assert.ok(3.9 < y && y < 4.1);
});

test("length", () => {
    assert.ok(4.9 < new Vector(3, 4) && new Vector(3, 4) < 5.1);
});
