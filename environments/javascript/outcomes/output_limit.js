const { writeSync } = require("node:fs");

for (;;) writeSync(1, "All work and no play makes Jack a dull boy.\n");
