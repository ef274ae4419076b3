import java.util.Scanner;

public class Palindromes {
    public static void main(String[] args) {
        Scanner input = new Scanner(System.in);
        while (input.hasNextLine()) {
            String line = input.nextLine();
            String backwards = new StringBuilder(line).reverse().toString();
            System.out.println(line.equals(backwards) ? "Yes" : "No");
        }
    }
}
