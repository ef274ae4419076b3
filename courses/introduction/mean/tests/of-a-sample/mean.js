const text = require("fs").readFileSync(0, "utf8");
const numbers = text.trim().split(/\s+/).map(Number);

let sum = 0;
for (const number of numbers) {
    sum += number;
}
const mean = sum / numbers.length;

let squares = 0;
for (const number of numbers) {
    squares += (number - mean) * (number - mean);
}
console.log(mean, Math.sqrt(squares / (numbers.length - 1)));
