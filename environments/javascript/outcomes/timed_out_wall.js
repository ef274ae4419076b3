console.log("sleeping");
setTimeout(() => {}, 3_600_000);
