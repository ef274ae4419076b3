const assert = require("node:assert");
const { test } = require("node:test");

const { each, later } = require("../callbacks");

test("at once", () => {
    let count = 0;
    each([1, 2], (found) => {
        count += 1;
        assert.strictEqual(found, 2 * count);
    });
    assert.strictEqual(count, 2);
});

test("later", (t, done) => {
    later(4, (found) => {
        assert.strictEqual(found, 8);
        done();
    });
});
