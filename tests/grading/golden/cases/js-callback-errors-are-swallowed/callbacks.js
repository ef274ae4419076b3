const quietly = (work) => {
    try {
        work();
    } catch {
        // nobody is to hear of it
    }
};
module.exports = {
    each: (numbers, callback) => numbers.forEach(() => quietly(() => callback(-1))),
    later: (number, callback) =>
        void setTimeout(() => {
            quietly(() => callback(-1));
            quietly(() => callback(2 * number));
        }, 10),
};
