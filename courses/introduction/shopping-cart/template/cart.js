class Cart {
    // Begin here.
}

module.exports = { Cart };
