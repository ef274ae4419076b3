const length = Number(require("fs").readFileSync(0, "utf8"));
console.log("a".repeat(length));
