console.log("spinning");
for (;;);
