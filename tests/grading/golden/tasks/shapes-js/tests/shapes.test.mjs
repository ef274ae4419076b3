import assert from "node:assert/strict";
import test, { afterEach, before, beforeEach } from "node:test";

import apply, { Length, Stack, UNIT, soon } from "../shapes.mjs";

const steps = [];
before(() => steps.push("before"));
beforeEach(() => steps.push("each"));
afterEach(() => steps.push("after"));

test("constants", () => {
    assert.equal(UNIT, "cm");
    assert.deepEqual(steps, ["before", "each"]);
});

test("objects", () => {
    const stack = new Stack();
    assert.equal(stack.push(1).push(2).size, 2);
    assert.deepEqual([...stack], [1, 2]);
    assert.ok(stack instanceof Stack);
    assert.ok(!(stack instanceof Length));
    assert.ok(new Length(3) > new Length(2));
});

test("functions of the test", () => {
    const list = [3, 1, 2];
    assert.deepEqual(apply(list, (each) => each * 2), [2, 4, 6]);
    assert.deepEqual(list, [1, 2, 3]);
});

test("called later", (t, done) => {
    soon((error, text) => {
        assert.equal(text, "now");
        done(error);
    });
});
