const objects = Array.from({ length: 45_000 }, () => new (class {})());

module.exports = {
    LIMIT: 10,
    add: () => objects,
    first: () => objects.slice(0, 9000),
    later: async () => objects,
};
