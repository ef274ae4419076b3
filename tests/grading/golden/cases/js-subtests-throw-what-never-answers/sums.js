class Thing {}
const never = () => {
    for (;;);
};
const thing = () => new Proxy(new Thing(), { get: (_, name) => (name === "constructor" ? Thing : never()), has: never });
module.exports = {
    add: () => {
        throw thing();
    },
    later: async () => {
        throw thing();
    },
};
