import java.util.Scanner;

public class Interactive {
    public static void main(String[] args) {
        Scanner input = new Scanner(System.in);
        System.out.print("Who are you? ");
        while (input.hasNextLine()) {
            System.out.println("Hello, " + input.nextLine() + "!");
            System.out.print("Who are you? ");
        }
        System.out.println("Bye.");
    }
}
