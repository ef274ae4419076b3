use std::{env, process};

fn main() {
    let code = env::args().nth(1).expect("an argument").parse().expect("a number");
    println!("leaving with {code}");
    process::exit(code);
}
