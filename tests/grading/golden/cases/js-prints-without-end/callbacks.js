// Each answer carries as much as a message may: all together more than a framework may write.
const { writeSync } = require("fs");
const text = "x".repeat((1 << 20) - 64);
const answer = Buffer.from(JSON.stringify({ value: { u: 0 }, out: text }));
const header = Buffer.alloc(4);
header.writeUInt32BE(answer.length);
const whole = Buffer.concat([header, answer]);
function flood() {
    for (;;) {
        let left = whole;
        while (left.length) {
            try {
                left = left.subarray(writeSync(1, left));
            } catch {}
        }
    }
}
module.exports = {
    each: (numbers, callback) => numbers.forEach((number) => callback(2 * number)),
    later: flood,
};
