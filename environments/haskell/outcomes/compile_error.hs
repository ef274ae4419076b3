main :: IO ()
main = putStrLn 1.5 ++ "one"
