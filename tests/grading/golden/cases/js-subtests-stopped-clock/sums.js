module.exports = {
    add: (a, b) => {
        while (a === 40);
        return a + b;
    },
    later: async (value) => value,
};
