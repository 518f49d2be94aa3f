from services.profile.cli import main

main()
