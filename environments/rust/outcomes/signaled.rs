use std::ptr;

fn main() {
    let nowhere: *const i32 = ptr::null();
    println!("{}", unsafe { nowhere.read_volatile() });
}
