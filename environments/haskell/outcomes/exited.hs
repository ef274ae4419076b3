import System.Environment (getArgs)
import System.Exit (ExitCode (ExitFailure), exitWith)

main :: IO ()
main = do
  [code] <- getArgs
  putStrLn ("leaving with " ++ code)
  exitWith (ExitFailure (read code))
