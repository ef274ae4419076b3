fn main() {
    println!("spinning");
    loop {}
}
