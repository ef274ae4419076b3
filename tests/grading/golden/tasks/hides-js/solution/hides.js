module.exports = {
    each: (numbers, callback) => numbers.forEach((number) => callback(number)),
    retried: (work, times) => {
        for (let turn = 0; turn < times; turn += 1) {
            try {
                return work();
            } catch {
                // once more
            }
        }
        return null;
    },
    guarded: (work) => (value) => work(value),
};
