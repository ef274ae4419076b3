def main():
@    @question1@@


main()
