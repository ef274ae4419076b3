module.exports = { add: (a, b) => a + b, later: async (value) => value };
