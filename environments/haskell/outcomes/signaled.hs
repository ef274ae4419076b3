import Foreign (nullPtr, peek)

main :: IO ()
main = do
  number <- peek nullPtr
  print (number :: Int)
