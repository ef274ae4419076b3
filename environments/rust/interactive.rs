use std::io::{self, Write};

fn ask() -> io::Result<Option<String>> {
    print!("Who are you? ");
    io::stdout().flush()?; // a question must be seen before its answer is read
    io::stdin().lines().next().transpose()
}

fn main() -> io::Result<()> {
    while let Some(name) = ask()? {
        println!("Hello, {name}!");
    }
    println!("Bye.");
    Ok(())
}
