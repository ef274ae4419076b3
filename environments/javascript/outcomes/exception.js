const nothing = null;

console.log(nothing.length);
