// An answer that says it is a plain object, with the conversions of an object of ours.
const write = require("node:fs").writeSync;
const text = JSON.stringify({ value: { d: [["valueOf", { o: 1, n: "liar", function: true }]] } });
const header = Buffer.alloc(4);
header.writeUInt32BE(text.length);
write(1, Buffer.concat([header, Buffer.from(text)]));
module.exports = {};
