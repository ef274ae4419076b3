fn main() {
    loop {
        println!("All work and no play makes Jack a dull boy.");
    }
}
