const assert = require("node:assert/strict");
const { test } = require("node:test");
const { Compiler, add, count, later, soon } = require("../returns");

test("compiles", () => {
    const compiler = new Compiler();
    const run = compiler.compile(compiler.parse("3+4"));
    assert.equal(run(), 7);
});
test("counts", () => assert.deepEqual([...count(3)], [0, 1, 2]));
test("waits", async () => assert.equal(await later(), 5));
test("calls", (t, done) => soon(() => done()));
test("calls again", (t, done) => soon(() => done()));
test("adds", () => assert.equal(add(20, 22), 42));
