import System.IO

main :: IO ()
main = do
  hSetBuffering stdout NoBuffering -- a question must be seen before its answer is read
  loop

loop :: IO ()
loop = do
  putStr "Who are you? "
  end <- isEOF
  if end
    then putStrLn "Bye."
    else do
      name <- getLine
      putStrLn ("Hello, " ++ name ++ "!")
      loop
