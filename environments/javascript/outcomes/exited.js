const code = Number(process.argv[2]);

console.log("leaving with", code);
process.exitCode = code;
