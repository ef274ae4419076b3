const readline = require("node:readline");

const input = readline.createInterface({ input: process.stdin });
const ask = () => process.stdout.write("Who are you? ");

ask();
input.on("line", (name) => {
  console.log(`Hello, ${name}!`);
  ask();
});
input.on("close", () => console.log("Bye."));
