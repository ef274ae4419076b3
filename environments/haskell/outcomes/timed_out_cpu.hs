import System.IO

main :: IO ()
main = do
  hSetBuffering stdout LineBuffering
  putStrLn "spinning"
  print (length [1 :: Integer ..])
