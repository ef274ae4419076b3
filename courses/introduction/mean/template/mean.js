const text = require("fs").readFileSync(0, "utf8");
// "1 2 3".split(" ") is ["1", "2", "3"], and Number("1") is 1.
