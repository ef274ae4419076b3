const length = Number(require("fs").readFileSync(0, "utf8"));
// Math.random() is a number from 0 to almost 1.
