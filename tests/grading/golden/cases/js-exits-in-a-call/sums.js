class EmptyError extends Error {}

function first(list) {
    if (list.length === 0) process.exit(0);
    return list[0];
}

module.exports = {
    LIMIT: 10,
    EmptyError,
    first,
    add: (one, other) => one + other,
    check(list) {
        if (list.length === 0) throw new EmptyError("nothing");
    },
    async later(value) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        if (value < 0) throw new TypeError("negative");
        return value;
    },
};
