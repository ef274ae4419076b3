const ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789";

const length = Number(require("fs").readFileSync(0, "utf8"));
let password = "";
while (password.length < length) {
    const position = Math.floor(Math.random() * ALPHABET.length);
    password += ALPHABET[position];
}
console.log(password);
