import java.util.Scanner;

public class Palindromes {
    public static void main(String[] args) {
        Scanner input = new Scanner(System.in);
        while (input.hasNextLine()) {
            System.out.println(isPalindrome(input.nextLine()) ? "yes" : "no");
        }
    }

    private static boolean isPalindrome(String line) {
        String text = line.replaceAll("[^A-Za-z0-9]", "").toLowerCase();
        for (int left = 0, right = text.length() - 1; left < right; left++, right--) {
            if (text.charAt(left) != text.charAt(right)) {
                return false;
            }
        }
        return true;
    }
}
