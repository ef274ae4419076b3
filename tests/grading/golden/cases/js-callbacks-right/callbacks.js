module.exports = {
    each: (numbers, callback) => numbers.forEach((number) => callback(2 * number)),
    later: (number, callback) => void setTimeout(() => callback(2 * number), 10),
};
