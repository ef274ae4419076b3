import Control.Concurrent (threadDelay)
import System.IO

main :: IO ()
main = do
  hSetBuffering stdout LineBuffering
  putStrLn "sleeping"
  threadDelay 3600000000
