const assert = require("node:assert/strict");
const { beforeEach, describe, it } = require("node:test");

const { Cart } = require("../cart");

describe("a cart", () => {
    let cart;

    beforeEach(() => {
        cart = new Cart();
    });

    it("is empty at first", () => {
        assert.equal(cart.total, 0);
        assert.deepEqual(cart.names(), []);
    });

    it("adds up what is in it", () => {
        cart.add("tea", 3, 2);
        cart.add("bread", 4);
        assert.equal(cart.total, 10);
        cart.add("lamp", 89);
        assert.equal(cart.total, 99);
    });

    it("is cheaper from 100 on", () => {
        cart.add("lamp", 50, 2);
        assert.equal(cart.total, 90);
    });

    it("knows names, each once", () => {
        cart.add("tea", 3);
        cart.add("bread", 4);
        cart.add("tea", 3);
        assert.deepEqual(cart.names(), ["bread", "tea"]);
    });

    it("refuses what makes no sense", () => {
        assert.throws(() => cart.add("tea", 0), RangeError);
        assert.throws(() => cart.add("tea", 1, 0), RangeError);
        assert.throws(() => cart.add("tea", -1), RangeError);
        assert.throws(() => cart.add("tea", 1, -1), RangeError);
    });
});
