module.exports = { add: (a, b) => a + b + 1, later: async (value) => value + 1 };
