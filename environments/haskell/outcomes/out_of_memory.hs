main :: IO ()
main = do
  let kept = [1 ..] :: [Integer]
  print (sum kept, length kept)
