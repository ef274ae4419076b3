use std::env;

fn main() {
    let nothing = env::args().count() - 1;
    println!("{}", 1 / nothing);
}
